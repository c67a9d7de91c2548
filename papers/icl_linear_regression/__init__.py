"""In-context linear regression by multi-head softmax attention (He, Pan, Chen and Yang, ICML 2025)."""
