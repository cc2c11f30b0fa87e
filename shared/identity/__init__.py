"""Who somebody is: keys, certificates, names, and TLS that proves them."""
