"""How records name a file.

Model only.
"""

from __future__ import annotations


def full_path(vp: object) -> str:
    """The path by which *vp* was looked up last, empty when it is no vnode."""
    names: list[bytes] = []
    while vp is not None:
        name = getattr(vp, "v_name", None)
        if name is None:
            return ""
        if name:
            names.append(name)
        vp = getattr(vp, "v_dd", None)
    return "/" + b"/".join(reversed(names)).decode(errors="backslashreplace") if names else ""
