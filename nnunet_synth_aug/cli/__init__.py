"""The commands of ``synthaug``. Each imports what it needs when it runs, so that help is instant."""
