"""Reports on a trained generator: does it obey its priors, is it realistic, has it memorised its patients."""
