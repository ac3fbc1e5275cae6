"""The top of the command tree: global flags, where the daemon is, and what happens when a command ends.

Owns the table of commands; never talks to the daemon itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from errno import EDQUOT, EFBIG, EIO, ENOSPC
from typing import Any, Final

from cli import configuration
from cli.api import DEFAULT_HOST, Api
from cli.failures import FAILED, INTERRUPTED, CliFailure
from cli.flags import option, options, switch
from cli.usage import Group
from cluster.version import VERSION

_COMMANDS: Final = {
    "info": ("cli.commands.system:info", "Display system-wide information"),
    "version": ("cli.commands.system:version", "Show the Festoon version information"),
    "swarm": ("cli.commands.swarm:swarm", "Manage Swarm"),
    "node": ("cli.commands.node:node", "Manage Swarm nodes"),
    "service": ("cli.commands.service:service", "Manage Swarm services"),
    "container": ("cli.commands.container:container", "Manage containers"),
    "network": ("cli.commands.network:network", "Manage networks"),
    "image": ("cli.commands.image:image", "Manage images"),
    "system": ("cli.commands.installation:system_", "Manage Festoon"),
    "secret": ("cli.commands.dependency:secret", "Manage Swarm secrets"),
    "config": ("cli.commands.dependency:config", "Manage Swarm configs"),
    "stack": ("cli.commands.stack:stack", "Manage Swarm stacks"),
    "volume": ("cli.commands.volume:volume", "Manage volumes"),
    "context": ("cli.commands.context:context", "Manage contexts"),
    "completion": ("cli.commands.completion:completion", "Generate the autocompletion script for the specified shell"),
    "search": ("cli.commands.image_search:search", "Search Docker Hub for images"),
    "cp": ("cli.commands.container_files:cp", "Copy files/folders between a container and the local filesystem"),
    "diff": ("cli.commands.container_files:diff", "Inspect changes to files or directories on a container's filesystem"),
    "export": ("cli.commands.container_files:export", "Export a container's filesystem as a tar archive"),
    "commit": ("cli.commands.container_files:commit", "Create a new image from a container's changes"),
    "save": ("cli.commands.image_archive:save", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "history": ("cli.commands.image_archive:history", "Show the history of an image"),
    "lab": ("cli.commands.lab:lab", "A whole cluster on this machine"),
    "raft": ("cli.commands.raft:raft", "Look at the managers' replicated log"),
    "sim": ("cli.commands.sim:sim", "The managers in a simulated world with faults"),
    "why": ("cli.commands.explain:why", "Explain why a task or service is where it is, or nowhere"),
    "plan": ("cli.commands.plan:plan", "Show what would come of a stack's files, and change nothing"),
    "events": ("cli.commands.system:events", "Get real time events from the server"),
    "inspect": ("cli.commands.system:inspect", "Return low-level information on Festoon objects"),
    "ps": ("cli.commands.container:ls", "List containers"),
    "run": ("cli.commands.container_run:run", "Create and run a new container from an image"),
    "create": ("cli.commands.container_run:create", "Create a new container"),
    "attach": ("cli.commands.container_run:attach", "Attach local standard input, output, and error streams to a running container"),
    "stats": ("cli.commands.container_stats:stats", "Display a live stream of container(s) resource usage statistics"),
    "update": ("cli.commands.container_use:update", "Update configuration of one or more containers"),
    "port": ("cli.commands.container_use:port", "List port mappings or a specific mapping for the container"),
    "exec": ("cli.commands.container_exec:exec_", "Execute a command in a running container"),
    "logs": ("cli.commands.container:logs", "Fetch the logs of a container"),
    "rm": ("cli.commands.container:rm", "Remove one or more containers"),
    "stop": ("cli.commands.container:stop", "Stop one or more running containers"),
    "kill": ("cli.commands.container:kill", "Kill one or more running containers"),
    "start": ("cli.commands.container:start", "Start one or more stopped containers"),
    "restart": ("cli.commands.container:restart", "Restart one or more containers"),
    "pause": ("cli.commands.container:pause", "Pause all processes within one or more containers"),
    "unpause": ("cli.commands.container:unpause", "Unpause all processes within one or more containers"),
    "rename": ("cli.commands.container:rename", "Rename a container"),
    "wait": ("cli.commands.container:wait", "Block until one or more containers stop, then print their exit codes"),
    "top": ("cli.commands.container:top", "Display the running processes of a container"),
    "pull": ("cli.commands.registry:pull", "Download an image from a registry"),
    "push": ("cli.commands.registry:push", "Upload an image to a registry"),
    "login": ("cli.commands.registry:login", "Authenticate to a registry"),
    "logout": ("cli.commands.registry:logout", "Log out from a registry"),
    "images": ("cli.commands.image:ls", "List images"),
    "rmi": ("cli.commands.image:rm", "Remove one or more images"),
    "load": ("cli.commands.image:load", "Load an image from a tar archive or STDIN"),
    "import": ("cli.commands.image:import_", "Import the contents from a tarball to create a filesystem image"),
    "tag": ("cli.commands.image:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
}
_NO_TLS: Final = {"tls": None, "tlsverify": None, "tlscacert": "", "tlscert": "", "tlskey": ""}
_LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal", "panic", "trace")
_BUILD: Final = "Festoon builds no images: build with buildah, kaniko or docker buildx, and bring the result in with `load`, `import` or `pull`"
_SECTIONS: Final = {
    "Common Commands": ("run", "exec", "ps", "pull", "push", "images", "login", "logout", "search", "version", "info"),
    "Management Commands": ("container", "context", "image", "network", "system", "volume"),
    "Swarm Commands": ("config", "node", "secret", "service", "stack", "swarm"),
    "Beyond Docker": ("lab", "plan", "raft", "sim", "why"),
}
_DISK_IS_FULL: Final = (ENOSPC, EDQUOT, EFBIG, EIO)
LEFT_OUT: Final = {
    **dict.fromkeys(("build", "builder", "buildx"), _BUILD),
    "checkpoint": "Festoon makes no checkpoints of running containers: stop the container, or `commit` its filesystem",
    "manifest": "Festoon makes no manifest lists: use skopeo, crane or docker buildx imagetools",
    "plugin": "Festoon runs no plugins: networks, volumes and log drivers are its own",
    "trust": "Festoon signs no images: use cosign or notation on the registry",
}
"""Docker's commands that Festoon has not, and what does their work."""


def run(program: str, arguments: list[str]) -> int:
    """Run one command; its exit status. Failures are printed here and nowhere else."""
    name = os.path.basename(program)
    root = tree()
    try:
        if arguments[:1] in (["__complete"], ["__completeNoDesc"]):
            from cli.completion import complete

            def daemon(host: str, context: str) -> Api:
                return _api_of("festoon", host, context, _NO_TLS, configuration.read())

            return complete(root, arguments[1:], daemon, described=arguments[0] == "__complete")
        result = root.invoke(name if name != "__main__.py" else "festoon", arguments, None)
        sys.stdout.flush()
    except CliFailure as e:
        if e.message:
            print(e.message, file=sys.stderr)
        return e.status
    except (KeyboardInterrupt, EOFError):
        if sys.stderr.isatty():
            print(file=sys.stderr)  # after the ^C, or an unanswered question
        return INTERRUPTED
    except OSError as e:
        if isinstance(e, FileNotFoundError) and e.filename is None:
            print("getwd: no such file or directory", file=sys.stderr)  # the working folder has been removed
        elif not isinstance(e, BrokenPipeError):
            where = e.filename or ("write /dev/stdout" if e.errno in _DISK_IS_FULL else program)
            print(f"{where}: {(e.strerror or str(e)).lower()}", file=sys.stderr)
        # Who read our output has gone, or its disk is full; nothing must be flushed into it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return result if isinstance(result, int) else 0


def tree() -> Group:
    """Every command."""
    return Group("festoon", summary="Swarm mode without Docker", lazy=_COMMANDS, begin=_begin, left_out=LEFT_OUT, sections=_SECTIONS)


@option("--config", help='Location of client config files (default "~/.docker")', default="")
@option(
    "--context", "-c", default="",
    help='Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default context set with "context use")',
)
@options("--host", "-H", help="Daemon socket to connect to")
@switch("--debug", "-D", help="Enable debug mode")
@option("--log-level", "-l", help='Set the logging level ("debug", "info", "warn", "error", "fatal")', default="info")
@switch("--tls", help="Use TLS; implied by --tlsverify")
@option("--tlscacert", help='Trust certs signed only by this CA (default "~/.docker/ca.pem")', default="")
@option("--tlscert", help='Path to TLS certificate file (default "~/.docker/cert.pem")', default="")
@option("--tlskey", help='Path to TLS key file (default "~/.docker/key.pem")', default="")
@switch("--tlsverify", help="Use TLS and verify the remote")
@switch("--version", "-v", help="Print version information and quit")
def _begin(program: str, host: tuple[str, ...], config: str, context: str, **flags: Any) -> Api | None:
    if flags["version"]:
        print(f"Festoon version {VERSION}")
        return None
    if flags["log_level"] not in _LOG_LEVELS:
        raise CliFailure(f"Unable to parse logging level: {flags['log_level']}")
    if config:
        os.environ["DOCKER_CONFIG"] = config
    if flags["debug"]:
        os.environ["DEBUG"] = "1"
    if host and context:
        raise CliFailure("conflicting options: cannot specify both --host and --context")
    if len(host) > 1:
        raise CliFailure("Failed to initialize: unable to resolve docker endpoint: Specify only one -H")
    return _api_of(program, host[-1] if host else "", "default" if host else context, flags, configuration.read())


def _api_of(program: str, host: str, context: str, flags: Mapping[str, Any], settings: configuration.Settings) -> Api:
    """The daemon that is meant: by flag, environment or context, in this order."""
    given = host or ("" if context not in ("", "default") else os.environ.get("FESTOON_HOST") or os.environ.get("DOCKER_HOST") or "")
    tls = None
    if not given and (context or os.environ.get("DOCKER_CONTEXT") or settings.get("currentContext")):
        from cli import contexts  # late: most people have none, and hashing names costs milliseconds

        name = contexts.current(context)
        if name != contexts.DEFAULT:
            return _api_of_context(program, name, context, settings)
    if not given and not (flags["tls"] or flags["tlsverify"]):
        return Api(DEFAULT_HOST, program, context=context, settings=settings)
    from cli.daemon_address import daemon_address

    trouble = ""
    if any(flags[name] for name in ("tls", "tlsverify")) or not given.startswith(("unix://", "/", "ssh://")):
        from cli import credentials
        from cli.tls import wish_of

        wish = wish_of(flags, credentials.path().parent)
        tls = wish.context if wish is not None else None
        trouble = wish.trouble() if wish is not None else ""
    try:
        given = daemon_address(given or "unix://", default=DEFAULT_HOST, tls=tls is not None)
    except CliFailure as e:
        return Api("", program, context=context, trouble=e.message, settings=settings)
    return Api(given, program, context=context, tls=tls, trouble=trouble, settings=settings)


def _api_of_context(program: str, name: str, asked: str, settings: configuration.Settings) -> Api:
    """A context that is gone is said when the daemon is needed: `context` commands work without one."""
    from cli import contexts
    from cli.tls import wish_of_folder

    try:
        found = contexts.read(name)
    except CliFailure as e:
        return Api("", program, context=asked, trouble=f"Failed to initialize: unable to resolve docker endpoint: {e.message}", settings=settings)
    endpoint = (found.get("Endpoints") or {}).get("docker") or {}
    wish = wish_of_folder(contexts.tls_folder(name) / "docker", verify=not endpoint.get("SkipTLSVerify"))
    tls = wish.context if wish is not None else None
    return Api(contexts.host_of(found) or DEFAULT_HOST, program, context=asked, tls=tls, settings=settings)
