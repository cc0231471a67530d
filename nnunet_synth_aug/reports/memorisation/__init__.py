"""Does the generator copy its training patients?"""
