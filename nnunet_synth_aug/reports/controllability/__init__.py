"""Does the generator obey its priors?"""
