"""What attention does with softmax: scaled, capped, masked and sinking, judged in ulps."""
