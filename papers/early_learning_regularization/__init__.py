"""Early-Learning Regularization Prevents Memorization of Noisy Labels (Liu, Niles-Weed, Razavian and Fernandez-Granda, NeurIPS 2020)."""
