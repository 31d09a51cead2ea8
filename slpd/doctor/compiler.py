"""Whether torch can compile for the GPU of this machine, which needs a C compiler and Python's headers."""

from slpd.doctor.finding import Finding

COST = "training moves twice the memory, and is slower by as much"
REMEDY = "install gcc and Python's headers on the nodes (Debian: gcc, python3-dev)"


def compiler() -> Finding:
    """Try it on a function of one operation; training goes on without, at a cost."""
    import torch  # noqa: PLC0415  # after cuCIM

    if not torch.cuda.is_available():
        return Finding("compiler", True, "not tried: no GPU here")
    try:
        torch.compile(torch.nn.functional.gelu, dynamic=False)(torch.ones(1024, device="cuda"))
    except Exception as error:  # whatever a compiler, its cache or a driver may raise: it is the finding
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Finding("compiler", True, f"torch cannot compile ({reason}): {COST}", REMEDY)
    return Finding("compiler", True, "torch compiles for this GPU")
