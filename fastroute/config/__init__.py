"""servers.toml: settings with their validation and description, and parsing of the file."""

from fastroute.config.parse import check_options, config_from_urls, load_config, parse_config
from fastroute.config.setting import SettingDoc, setting_docs
from fastroute.config.settings import AccessLogForm, Config, ServerConfig

__all__ = [
    "AccessLogForm",
    "Config",
    "ServerConfig",
    "SettingDoc",
    "check_options",
    "config_from_urls",
    "load_config",
    "parse_config",
    "setting_docs",
]
