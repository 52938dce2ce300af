"""What is stored: blobs, manifests, tags, uploads and quotas, with the operations that change them."""
