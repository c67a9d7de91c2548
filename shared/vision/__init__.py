"""Images on the device where they are used: augmentation, networks for 28x28 to 56x56 pixels, training, and the backbones trained here."""
