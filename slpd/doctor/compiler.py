"""Checks whether torch can compile for this machine's GPU. That needs a C compiler and Python's headers."""

from slpd.doctor.finding import Finding

COST = "training moves 1.6 times the memory and encoding a fourth more, and both are slower"
REMEDY = "install gcc and Python's headers on the nodes (Debian: gcc, python3-dev)"


def compiler() -> Finding:
    """Compile a function of one operation. Training and encoding also work without a compiler, at a cost."""
    import torch  # noqa: PLC0415  # after cuCIM

    if not torch.cuda.is_available():
        return Finding("compiler", True, "not tried: no GPU here")
    try:
        torch.compile(torch.nn.functional.gelu, dynamic=False)(torch.ones(1024, device="cuda"))
    except Exception as error:  # a compiler, its cache or a driver may raise anything, and that is the finding
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Finding("compiler", True, f"torch cannot compile ({reason}): {COST}", REMEDY)
    return Finding("compiler", True, "torch compiles for this GPU")
