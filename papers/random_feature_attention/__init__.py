"""What can a Single Attention Layer Learn? A Study Through the Random Features Lens (Fu, Guo, Bai, Mei; NeurIPS 2023)."""
