"""What a dataset is in figures: measures of masks and images, gathered in bounded memory."""
