//! Whom a node runs as.

use std::ffi::CString;

use nix::unistd::{User, geteuid, initgroups, setgid, setuid};
use tracing::{info, warn};

use crate::failure::Failure;

/// Becomes `user` for good, if it is root now.
pub(super) fn become_user(user: Option<&str>) -> Result<(), Failure> {
    let Some(name) = user else {
        if geteuid().is_root() {
            warn!("running as root, which nothing here needs: -u USER changes to that user");
        }
        return Ok(());
    };
    if !geteuid().is_root() {
        info!("-u {name}: only root can change user; ignored");
        return Ok(());
    }
    let found = User::from_name(name)
        .map_err(|error| Failure::system(format!("-u {name}: cannot be looked up: {error}")))?
        .ok_or_else(|| {
            Failure::usage(format!("-u {name}: there is no such user; see getent passwd"))
        })?;
    if found.uid.is_root() {
        return Ok(());
    }
    let name_c = CString::new(name)
        .map_err(|_| Failure::usage("-u: a user's name has no NUL byte".to_owned()))?;
    // Groups first: afterwards it may not change them.
    initgroups(&name_c, found.gid)
        .and_then(|()| setgid(found.gid))
        .and_then(|()| setuid(found.uid))
        .map_err(|error| Failure::system(format!("-u {name}: cannot become that user: {error}")))
}
