"""Edge detection on BSDS500 as its benchmark scores it (paper, section 7.2 and appendix D.2)."""
