"""Do generated hearts look and move like real ones?"""
