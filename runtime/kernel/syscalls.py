"""System call numbers of x86_64 and aarch64 and their names. Owns nothing but the table. Sources: the kernel's arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h (what aarch64 has no number for, such as mkdir, is not called: mkdirat is). The aarch64 column is held against that of
seccomp/numbers.py, and untested on such a machine: there is none here."""

from __future__ import annotations

import os
from enum import IntEnum

_AARCH64 = os.uname().machine == "aarch64"


def _on(x86_64: int, aarch64: int) -> int:
    return aarch64 if _AARCH64 else x86_64


class Call(IntEnum):
    """One system call; the member's name in lower case is the kernel's name for it."""

    READ = _on(0, 63)
    WRITE = _on(1, 64)
    CLOSE = _on(3, 57)
    RT_SIGACTION = _on(13, 134)
    RT_SIGPROCMASK = _on(14, 135)
    IOCTL = _on(16, 29)
    SOCKET = _on(41, 198)
    EXECVE = _on(59, 221)
    CHDIR = _on(80, 49)
    FCHDIR = _on(81, 50)
    FCHOWN = _on(93, 55)
    UMASK = _on(95, 166)
    SETSID = _on(112, 157)
    SETGROUPS = _on(116, 159)
    SETRESUID = _on(117, 147)
    SETRESGID = _on(119, 149)
    SETFSUID = _on(122, 151)
    SETFSGID = _on(123, 152)
    CAPSET = _on(126, 91)
    FSTATFS = _on(138, 44)
    PIVOT_ROOT = _on(155, 41)
    PRCTL = _on(157, 167)
    CHROOT = _on(161, 51)
    MOUNT = _on(165, 40)
    UMOUNT2 = _on(166, 39)
    SETHOSTNAME = _on(170, 161)
    SETDOMAINNAME = _on(171, 162)
    KEYCTL = _on(250, 219)
    INOTIFY_ADD_WATCH = _on(254, 27)
    INOTIFY_RM_WATCH = _on(255, 28)
    OPENAT = _on(257, 56)
    MKDIRAT = _on(258, 34)
    MKNODAT = _on(259, 33)
    FCHOWNAT = _on(260, 54)
    SYMLINKAT = _on(266, 36)
    UNSHARE = _on(272, 97)
    TEE = _on(276, 77)
    DUP3 = _on(292, 24)
    INOTIFY_INIT1 = _on(294, 26)
    PRLIMIT64 = _on(302, 261)
    SYNCFS = _on(306, 267)
    SETNS = _on(308, 268)
    SECCOMP = _on(317, 277)
    BPF = _on(321, 280)
    EXECVEAT = _on(322, 281)
    PIDFD_SEND_SIGNAL = _on(424, 424)
    OPEN_TREE = _on(428, 428)
    MOVE_MOUNT = _on(429, 429)
    FSOPEN = _on(430, 430)
    FSCONFIG = _on(431, 431)
    FSMOUNT = _on(432, 432)
    CLONE3 = _on(435, 435)
    CLOSE_RANGE = _on(436, 436)
    OPENAT2 = _on(437, 437)
    MOUNT_SETATTR = _on(442, 442)
