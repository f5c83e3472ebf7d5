//! What must hold of every `host.toml` that is taken. Panics when a property is breached, and says whether the text was taken;
//! tests and fuzzers call it.

use crate::config::{HostConfig, SOCKET_PATH_MAX_BYTES, TIMEOUT_MAX};
use std::time::Duration;

/// Paths are absolute, sockets fit their address, times are within their bounds.
pub fn check_host_toml(text: &str) -> bool {
    let Ok(config) = HostConfig::from_text(text) else { return false };
    for socket in [Some(&config.socket), config.control.as_ref()].into_iter().flatten() {
        assert!(socket.is_absolute() && socket.as_os_str().len() <= SOCKET_PATH_MAX_BYTES);
    }
    assert!(config.api_key_file.as_ref().is_none_or(|file| file.is_absolute()));
    for timeout in [config.connect_timeout, config.request_timeout] {
        assert!((Duration::from_millis(1)..=TIMEOUT_MAX).contains(&timeout));
    }
    assert_eq!(HostConfig::from_text(text).as_ref(), Ok(&config));
    true
}
