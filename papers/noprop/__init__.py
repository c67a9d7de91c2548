"""NoProp: blocks that each learn alone to denoise a label, run in sequence as a reverse diffusion (Li, Teh, Pascanu 2025)."""
