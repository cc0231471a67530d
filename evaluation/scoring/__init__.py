"""Two masks become numbers: Dice, distances, volumes."""
