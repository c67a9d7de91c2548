"""Hierarchical polynomials: layerwise three-layer networks find the hidden feature that kernels miss (Wang, Nichani and Lee, ICLR 2024)."""
