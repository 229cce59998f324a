"""Will a parcel be handed over later than was promised? Synthetic, and tiny: it shows that the seam is real."""
