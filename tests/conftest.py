pytest_plugins = ["enkash_coins.pytest_plugin"]
