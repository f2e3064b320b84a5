"""The mathematics that all backends share: nothing here is parallel, and nothing depends on a backend."""
