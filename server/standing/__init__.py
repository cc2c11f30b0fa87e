"""A coordinator that stays: it knows who is here, and trains when it is asked or it is time."""
