"""The paper's tables and figures, drawn from finished results. Nothing here imports torch."""
