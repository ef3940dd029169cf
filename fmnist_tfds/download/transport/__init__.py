"""One attempt over the wire: session, redirects, handshake, transfer."""
