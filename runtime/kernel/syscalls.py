"""System call numbers of x86_64 and their names. Owns nothing but the table. Source: the kernel's
arch/x86/entry/syscalls/syscall_64.tbl."""

from __future__ import annotations

from enum import IntEnum


class Call(IntEnum):
    """One system call; the member's name in lower case is the kernel's name for it."""

    READ = 0
    WRITE = 1
    CLOSE = 3
    RT_SIGACTION = 13
    RT_SIGPROCMASK = 14
    IOCTL = 16
    SOCKET = 41
    EXECVE = 59
    CHDIR = 80
    FCHDIR = 81
    MKDIR = 83
    FCHOWN = 93
    UMASK = 95
    SETSID = 112
    SETGROUPS = 116
    SETRESUID = 117
    SETRESGID = 119
    SETFSUID = 122
    SETFSGID = 123
    CAPSET = 126
    FSTATFS = 138
    PIVOT_ROOT = 155
    PRCTL = 157
    CHROOT = 161
    MOUNT = 165
    UMOUNT2 = 166
    SETHOSTNAME = 170
    SETDOMAINNAME = 171
    KEYCTL = 250
    INOTIFY_ADD_WATCH = 254
    OPENAT = 257
    MKDIRAT = 258
    MKNODAT = 259
    FCHOWNAT = 260
    SYMLINKAT = 266
    UNSHARE = 272
    TEE = 276
    DUP3 = 292
    INOTIFY_INIT1 = 294
    PRLIMIT64 = 302
    SYNCFS = 306
    SETNS = 308
    SECCOMP = 317
    BPF = 321
    EXECVEAT = 322
    PIDFD_SEND_SIGNAL = 424
    OPEN_TREE = 428
    MOVE_MOUNT = 429
    FSOPEN = 430
    FSCONFIG = 431
    FSMOUNT = 432
    CLONE3 = 435
    CLOSE_RANGE = 436
    OPENAT2 = 437
    MOUNT_SETATTR = 442
