"""The script for bpftrace that prints ``coalloc calls 1``: see :mod:`~coalloc.workload.calls`.

It uses tracepoints alone, whose names and arguments are kept stable, and looks up in the kernel's own tables which pipe a
descriptor refers to (``files->fdt->fd[n]->f_inode``).  So it prints no call that is not about a pipe.  A pipe is an inode of
pipefs; named pipes are left out.  What is noted of a thread is deleted when it ends, since a map has 4,096 places.

Needs bpftrace 0.17 or later, a kernel with BTF, and root.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final

from coalloc.workload.calls import HEADER

__all__ = ["bpftrace_script"]

_PIPEFS_MAGIC: Final = "0x50495045"
_FIONBIO: Final = 0x5421
_OLD_CALLS: Final = frozenset({"x86_64", "i686", "i386"})
"""Machines that still have pipe, dup2, open, fork and vfork; newer ones have pipe2, dup3, openat and clone alone."""

_BEGINS: Final = f"""BEGIN
{{
    printf("{HEADER}\\n");
    %s
}}

tracepoint:sched:sched_process_fork /@in[pid]/
{{
    @in[args->child_pid] = 1;
    printf("%%lld %%lld %%d %%d fork %%d %%d\\n", nsecs, nsecs, cpu, tid, args->child_pid, (@flags[tid] >> 10) & 1);
}}

tracepoint:sched:sched_process_exec /@in[pid]/
{{
    printf("%%lld %%lld %%d %%d exec\\n", nsecs, nsecs, cpu, tid);
}}

tracepoint:sched:sched_process_exit /@in[pid]/
{{
    printf("%%lld %%lld %%d %%d exit\\n", nsecs, nsecs, cpu, tid);
    delete(@begun[tid]); delete(@first[tid]); delete(@second[tid]); delete(@flags[tid]);
    delete(@address[tid]); delete(@here[tid]); delete(@there[tid]);
    if (tid != pid) {{ delete(@in[tid]); }}
    if (((struct task_struct *)curtask)->signal->live.counter == 0) {{ delete(@in[pid]); }}
}}

END
{{
    clear(@in); clear(@begun); clear(@first); clear(@second); clear(@flags); clear(@address); clear(@here); clear(@there);
}}
"""
_WHICH_END: Final = "    @there[tid] = (uint64)(($f->f_mode >> 1) & 1);\n"
"""Notes whether the descriptor that was just looked up can write (FMODE_WRITE)."""
_LOOK: Final = """    $f = *(((struct task_struct *)curtask)->files->fdt->fd + {fd});
    @{where}[tid] = (uint64)0;
    if ($f->f_inode->i_sb->s_magic == {magic}) {{ @{where}[tid] = (uint64)$f->f_inode->i_ino; }}
"""


def _look(fd: str, where: str) -> str:
    return _LOOK.format(fd=fd, where=where, magic=_PIPEFS_MAGIC)


def _call(name: str, entry: str, condition: str, line: str, values: str) -> str:
    """Return the probes of a call: what is noted when it begins, and what is printed when it returns."""
    return f"""
tracepoint:syscalls:sys_enter_{name} /@in[pid]/
{{
    @begun[tid] = nsecs;
{entry}}}

tracepoint:syscalls:sys_exit_{name} /@begun[tid]/
{{
    if ({condition}) {{
        printf("%lld %lld %d %d {line}\\n", @begun[tid], nsecs, cpu, tid, {values});
    }}
    delete(@begun[tid]);
}}
"""


def _noted(first: str, second: str = "") -> str:
    return f"    @first[tid] = (uint64)args->{first};\n" + (
        f"    @second[tid] = (uint64)args->{second};\n" if second else ""
    )


def _pipe(name: str) -> str:
    flags = "    @second[tid] = (uint64)args->flags;\n" if name == "pipe2" else "    @second[tid] = (uint64)0;\n"
    return f"""
tracepoint:syscalls:sys_enter_{name} /@in[pid]/
{{
    @begun[tid] = nsecs;
    @address[tid] = (uint64)args->fildes;
{flags}}}

tracepoint:syscalls:sys_exit_{name} /@begun[tid]/
{{
    if (args->ret == 0) {{
        $both = *(uint64 *)uptr(@address[tid]);
        $r = $both & 0xffffffff;
        $f = *(((struct task_struct *)curtask)->files->fdt->fd + $r);
        $i = (uint64)$f->f_inode->i_ino;
        printf("%lld %lld %d %d pipe %d@%lld %d@%lld %d\\n",
            @begun[tid], nsecs, cpu, tid, $r, $i, $both >> 32, $i, (@second[tid] >> 19) & 1);
        if ((@second[tid] >> 11) & 1) {{
            printf("%lld %lld %d %d nonblock %d@%lld 1 0\\n", @begun[tid], nsecs, cpu, tid, $r, $i);
            printf("%lld %lld %d %d nonblock %d@%lld 1 1\\n", @begun[tid], nsecs, cpu, tid, $both >> 32, $i);
        }}
    }}
    delete(@begun[tid]);
}}
"""


def _transfer(name: str, word: str) -> str:
    entry = _noted("fd") + _look("args->fd", "here")
    return _call(
        name, entry, "args->ret > 0 && @here[tid]", f"{word} %d@%lld %lld", "@first[tid], @here[tid], args->ret"
    )


def _between(name: str, word: str, source: str, target: str) -> str:
    entry = _noted(source, target) + _look(f"args->{source}", "here") + _look(f"args->{target}", "there")
    values = "@first[tid], @here[tid], @second[tid], @there[tid], args->ret"
    return _call(name, entry, "args->ret > 0 && (@here[tid] || @there[tid])", f"{word} %d@%lld %d@%lld %lld", values)


def _duplicate(name: str, old: str, flags: str) -> str:
    entry = _noted(old) + _look(f"args->{old}", "here")
    entry += f"    @second[tid] = (uint64){f'args->{flags}' if flags else '0'};\n"
    values = "@first[tid], @here[tid], args->ret, (@second[tid] >> 19) & 1"
    return _call(name, entry, "args->ret >= 0 && (uint64)args->ret != @first[tid]", "dup %d@%lld %d %d", values)


def _fcntl() -> str:
    return f"""
tracepoint:syscalls:sys_enter_fcntl
    /@in[pid] && (args->cmd == 0 || args->cmd == 2 || args->cmd == 4 || args->cmd == 1030 || args->cmd == 1031)/
{{
    @begun[tid] = nsecs;
    @second[tid] = (uint64)args->cmd;
    @address[tid] = (uint64)args->arg;
{_noted("fd")}{_look("args->fd", "here")}{_WHICH_END}}}

tracepoint:syscalls:sys_exit_fcntl /@begun[tid]/
{{
    if (args->ret >= 0 && @here[tid]) {{
        if (@second[tid] == 2) {{
            printf("%lld %lld %d %d cloexec %d@%lld %d\\n",
                @begun[tid], nsecs, cpu, tid, @first[tid], @here[tid], @address[tid] & 1);
        }}
        if (@second[tid] == 4) {{
            printf("%lld %lld %d %d nonblock %d@%lld %d %d\\n",
                @begun[tid], nsecs, cpu, tid, @first[tid], @here[tid], (@address[tid] >> 11) & 1, @there[tid]);
        }}
        if (@second[tid] == 1031) {{
            printf("%lld %lld %d %d resize %d@%lld %lld %d\\n",
                @begun[tid], nsecs, cpu, tid, @first[tid], @here[tid], args->ret, @there[tid]);
        }}
        if (@second[tid] == 0 || @second[tid] == 1030) {{
            printf("%lld %lld %d %d dup %d@%lld %d %d\\n",
                @begun[tid], nsecs, cpu, tid, @first[tid], @here[tid], args->ret, @second[tid] == 1030);
        }}
    }}
    delete(@begun[tid]);
}}
"""


def _ioctl() -> str:
    return f"""
tracepoint:syscalls:sys_enter_ioctl /@in[pid] && args->cmd == {_FIONBIO:#x}/
{{
    @begun[tid] = nsecs;
    @second[tid] = (uint64)*(uint32 *)uptr((uint64)args->arg);
{_noted("fd")}{_look("args->fd", "here")}{_WHICH_END}}}

tracepoint:syscalls:sys_exit_ioctl /@begun[tid]/
{{
    if (args->ret == 0 && @here[tid]) {{
        printf("%lld %lld %d %d nonblock %d@%lld %d %d\\n",
            @begun[tid], nsecs, cpu, tid, @first[tid], @here[tid], @second[tid] != 0, @there[tid]);
    }}
    delete(@begun[tid]);
}}
"""


def _open(name: str, flags: str) -> str:
    """Print opens of what is a pipe already: of /dev/fd and /proc/PID/fd."""
    return f"""
tracepoint:syscalls:sys_enter_{name} /@in[pid]/
{{
    @second[tid] = (uint64){flags};
}}

tracepoint:syscalls:sys_exit_{name} /@in[pid] && args->ret >= 0/
{{
    $f = *(((struct task_struct *)curtask)->files->fdt->fd + args->ret);
    if ($f->f_inode->i_sb->s_magic == {_PIPEFS_MAGIC}) {{
        printf("%lld %lld %d %d open %d@%lld %d\\n",
            nsecs, nsecs, cpu, tid, args->ret, (uint64)$f->f_inode->i_ino, (@second[tid] >> 19) & 1);
    }}
}}
"""


def _clone(name: str, flags: str) -> str:
    return f"""
tracepoint:syscalls:sys_enter_{name} /@in[pid]/
{{
    @flags[tid] = (uint64){flags};
}}
"""


def bpftrace_script(pids: Sequence[int] = (), *, machine: str = "") -> str:
    """Return the script.

    Args:
        pids: The processes to record with all that they start; the command of ``bpftrace -c`` if there are none.
        machine: The processor of the machine that records, as ``uname -m`` names it; this machine's if empty.
    """
    old = (machine or platform.machine()) in _OLD_CALLS
    roots = [str(pid) for pid in pids] or ["cpid"]
    parts = [_BEGINS % " ".join(f"@in[{root}] = 1;" for root in roots)]
    parts += [_pipe(name) for name in (("pipe", "pipe2") if old else ("pipe2",))]
    parts += [_transfer(name, "read") for name in ("read", "readv", "preadv2")]
    parts += [_transfer(name, "write") for name in ("write", "writev", "pwritev2", "vmsplice")]
    parts += [
        _between("splice", "splice", "fd_in", "fd_out"),
        _between("tee", "tee", "fdin", "fdout"),
        _between("sendfile64", "splice", "in_fd", "out_fd"),
        _call("close", _noted("fd") + _look("args->fd", "here"), "args->ret == 0 && @here[tid]", "close %d@%lld",
              "@first[tid], @here[tid]"),
        _call("close_range", _noted("fd", "max_fd") + "    @address[tid] = (uint64)args->flags;\n", "args->ret == 0",
              "close_range %lld %lld %d", "@first[tid], @second[tid] & 0xffffffff, (@address[tid] >> 2) & 1"),
        _duplicate("dup", "fildes", ""),
        _duplicate("dup3", "oldfd", "flags"),
        _fcntl(),
        _ioctl(),
        _open("openat", "args->flags"), _open("openat2", "*(uint64 *)uptr((uint64)args->how)"),
        _clone("clone", "args->clone_flags"),
        _clone("clone3", "*(uint64 *)uptr((uint64)args->uargs)"),
    ]  # fmt: skip
    if old:
        parts += [
            _duplicate("dup2", "oldfd", ""),
            _open("open", "args->flags"),
            _clone("fork", "0"),
            _clone("vfork", "0"),
        ]
    return "".join(parts)
