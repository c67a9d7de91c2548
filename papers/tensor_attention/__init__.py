"""How to Capture Higher-order Correlations? Generalizing Matrix Softmax Attention to Kronecker Computation (Alman & Song, 2023)."""
