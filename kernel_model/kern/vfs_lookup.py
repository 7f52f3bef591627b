"""From a path to a vnode.

FreeBSD: sys/kern/vfs_lookup.c.

Every component is looked up by us, one directory at a time: a symbolic link is read and interpreted inside
the process's root, ``..`` at the root stays there, and nothing is ever handed to the host as a path.

Differs: no name cache to invalidate, no unions, no capability mode; a mount is a name in its parent
directory (``Vnode.v_covers``), so that the name need not exist below it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyinstr
from kernel_model.kern.vnode import NAME_MAX, PATH_MAX, VDIR, VEXEC, VLNK, Vnode

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.ucred import Ucred

AT_FDCWD = -100
"""Both ABIs: relative paths start at the working directory."""
MAXSYMLINKS = 32


class Namei(NamedTuple):
    """Where the last component of a path is: what namei() leaves in struct nameidata."""

    ni_dvp: Vnode
    """Directory that holds, or would hold, the last component."""
    ni_vp: Vnode | None
    """The file itself; None when there is none yet."""
    cn_name: bytes
    """Last component; ``.`` or ``..`` when the path ends so; empty when the path is a root (``/``)."""
    trailing_slash: bool = False


@dataclass(slots=True, eq=False)
class NameiContext:
    """What stays fixed during one look-up."""

    root: Vnode
    cred: Ucred
    max_links: int = MAXSYMLINKS
    path_max: int = PATH_MAX


def path_arg(td: Thread, va: int) -> bytes:
    """Copy in a path; ENAMETOOLONG beyond the ABI's PATH_MAX.  FreeBSD: namei() with UIO_USERSPACE."""
    return copyinstr(td, va, td.td_proc.p_sysent.paths.path_max)


def namei(td: Thread, path: bytes, *, follow: bool = True, dirfd: int = AT_FDCWD) -> Vnode:
    """Return the vnode that *path* names.

    ``follow=False`` stops at a symbolic link in the last component (unless a slash follows it).
    Raises ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EBADF.
    FreeBSD: namei() with LOOKUP.
    """
    found = _namei(td, path, follow=follow, dirfd=dirfd, only_name=False)
    if found.ni_vp is None:
        raise SyscallError(E.ENOENT)
    return found.ni_vp


def namei_last(
    td: Thread, path: bytes, *, follow: bool = False, dirfd: int = AT_FDCWD
) -> Namei:
    """Like namei(), but only the directories need to exist, and the parent is returned too.

    Where the ABI says so (``last_slash_follows``), a slash after the last component does not make a link be
    followed nor a file be refused: the caller looks at ``trailing_slash``.
    FreeBSD: namei() with CREATE, DELETE or RENAME and WANTPARENT.
    """
    return _namei(td, path, follow=follow, dirfd=dirfd, only_name=True)


def _namei(td: Thread, path: bytes, *, follow: bool, dirfd: int, only_name: bool) -> Namei:
    fdesc = td.td_proc.p_fd
    rules = td.td_proc.p_sysent.paths
    context = NameiContext(
        root=fdesc.fd_rdir,
        cred=td.td_proc.p_ucred,
        max_links=rules.maxsymlinks,
        path_max=rules.path_max,
    )
    if path[:1] == b"/":
        start = context.root
    elif dirfd == AT_FDCWD:
        start = fdesc.fd_cdir
    else:
        if not path:
            raise SyscallError(E.ENOENT)
        start = fdesc.getvnode_at(dirfd)
    return walk(context, start, path, follow=follow, slash_counts=rules.last_slash_follows or not only_name)


def lookup_path(start: Vnode, path: bytes, cred: Ucred, *, root: Vnode | None = None) -> Vnode:
    """Look *path* up before there is a process, following links; *start* is also the root by default.

    Model only: the machine uses it for its working directory.
    """
    found = walk(NameiContext(root=root or start, cred=cred), start, path, follow=True)
    if found.ni_vp is None:
        raise SyscallError(E.ENOENT)
    return found.ni_vp


def walk(
    context: NameiContext, start: Vnode, path: bytes, *, follow: bool, slash_counts: bool = True
) -> Namei:
    """Resolve *path* from *start*.

    With *slash_counts* a slash at the end asks for a directory, through a link if need be.
    Requires: *start* is ``context.root`` when the path is absolute.
    FreeBSD:  namei() and vfs_lookup().
    """
    if not path or b"\0" in path:
        raise SyscallError(E.ENOENT)
    if len(path) >= context.path_max:
        raise SyscallError(E.ENAMETOOLONG)
    way = _Way(context, context.root if path[:1] == b"/" else start)
    kassert(context.root.v_type == VDIR, "namei: root %r", context.root)
    way.push(path)
    way.slash = path[-1:] == b"/"
    while way.todo:
        name = way.todo.pop()
        last = not way.todo
        vp = lookup_component(context, way.dvp, name)
        if vp is not None and vp.v_type == VLNK and (follow or not last or (way.slash and slash_counts)):
            vp = way.follow(vp, last=last)
            if vp is None:
                continue
        if last:
            if vp is not None and vp.v_type != VDIR and way.slash and slash_counts:
                raise SyscallError(E.ENOTDIR)
            return Namei(way.dvp, vp, name, way.slash)
        if vp is None:
            raise SyscallError(E.ENOENT)
        if vp.v_type != VDIR:
            raise SyscallError(E.ENOTDIR)
        way.dvp = vp
    kassert(way.dvp.v_type == VDIR, "namei: %r is no directory", way.dvp)
    return Namei(way.dvp, way.dvp, b"", trailing_slash=True)


@dataclass(slots=True, eq=False)
class _Way:
    """How far a look-up has come: struct nameidata on the move."""

    context: NameiContext
    dvp: Vnode
    """The directory in which the next component is looked up."""
    todo: list[bytes] = field(default_factory=list)
    """Components still to come, the next one last."""
    slash: bool = False
    """The text of the last component ended with a slash."""
    links: int = 0

    def push(self, path: bytes) -> None:
        """The components of *path* come next."""
        self.todo.extend(part for part in reversed(path.split(b"/")) if part)

    def follow(self, vp: Vnode, *, last: bool) -> Vnode | None:
        """Go through the link *vp*: None when its text is now ahead, a vnode when it is a magic link."""
        self.links += 1
        if self.links > self.context.max_links:
            raise SyscallError(E.ELOOP)
        magic = vp.follow_to()
        if magic is not None:
            return magic
        target = vp.readlink()
        if not target:
            raise SyscallError(E.ENOENT)
        if len(target) + sum(len(part) + 1 for part in self.todo) >= self.context.path_max:
            raise SyscallError(E.ENAMETOOLONG)
        if target[:1] == b"/":
            self.dvp = self.context.root
        self.slash = self.slash or (last and target[-1:] == b"/")
        self.push(target)
        return None


def lookup_component(context: NameiContext, dvp: Vnode, name: bytes) -> Vnode | None:
    """One step: *name* in *dvp*, or None when it is not there.

    FreeBSD: vfs_lookup(), from ``dirloop`` on.
    """
    if dvp.v_type != VDIR:
        raise SyscallError(E.ENOTDIR)
    dvp.access(VEXEC, context.cred)
    if name == b".":
        return dvp
    if name == b"..":
        if dvp is context.root or dvp.v_dd is None:
            return dvp
        return dvp.v_dd
    if len(name) > NAME_MAX:
        raise SyscallError(E.ENAMETOOLONG)
    covering = dvp.v_covers.get(name)
    if covering is not None:
        kassert(covering.v_dd is dvp, "namei: %r is mounted elsewhere", covering)
        return covering
    try:
        return dvp.lookup(name)
    except SyscallError as error:
        if error.errno != E.ENOENT:
            raise
        return None


def vn_fullpath(vp: Vnode, root: Vnode) -> bytes:
    """Path of the directory or file *vp* below *root*, by the names of its last look-up.

    Raises ENOENT when a directory on the way has been removed or is not below *root*.
    FreeBSD: vn_fullpath(9), and vn_getcwd() behind __getcwd(2).
    """
    names: list[bytes] = []
    kassert(root.v_type == VDIR, "vn_fullpath: root %r", root)
    while vp is not root:
        parent = vp.v_dd
        if parent is None or len(names) > PATH_MAX:
            raise SyscallError(E.ENOENT)
        name = vp.v_name
        if parent.v_covers.get(name) is not vp and not still_named(parent, name, vp):
            name = name_by_search(parent, vp)
        names.append(name)
        vp = parent
    return b"/" + b"/".join(reversed(names))


def vn_globalpath(vp: Vnode) -> bytes:
    """Path of *vp* from the top of the whole tree; with `` (deleted)`` when it has lost its name.

    FreeBSD: vn_fullpath_global(9); the mark is Linux's, d_path().
    """
    root = vp
    while root.v_dd is not None:
        root = root.v_dd
    try:
        return vn_fullpath(vp, root)
    except SyscallError:
        return vp.v_name + b" (deleted)"


def still_named(parent: Vnode, name: bytes, vp: Vnode) -> bool:
    """Whether *name* in *parent* is *vp* today."""
    try:
        return parent.lookup(name) is vp
    except SyscallError:
        return False


def name_by_search(parent: Vnode, vp: Vnode) -> bytes:
    """Find the name of *vp* in *parent* after somebody renamed it behind our back; ENOENT if it is gone."""
    fileid = vp.getattr().va_fileid
    for entry in parent.readdir():
        if entry.d_fileno == fileid and entry.d_name not in (b".", b"..") and still_named(parent, entry.d_name, vp):
            return entry.d_name
    raise SyscallError(E.ENOENT)
