"""Demo applications: emojivoto and http-echo, as real programs."""
