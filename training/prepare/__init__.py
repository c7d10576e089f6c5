"""Make shards of aligned faces from folders of pictures and from public sets; see PREPARE.md."""
