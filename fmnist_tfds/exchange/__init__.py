"""What other tools hold or want: adopt, plant, bundle, serve. No TensorFlow."""
