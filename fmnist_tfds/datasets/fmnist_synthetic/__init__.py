"""The embedded stand-in: ten silhouettes from a deterministic generator. NOT Fashion-MNIST."""
