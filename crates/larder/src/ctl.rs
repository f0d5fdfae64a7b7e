//! `larder ctl`: those who look after a cluster, and what they want of it.

mod report;

use std::io::Write;
use std::process::ExitCode;

use larder_store::{Admin, AdminError, ClusterStatus, Secret};
use tokio::runtime::Builder;

use crate::config::CtlConfig;
use crate::failure::Failure;
use crate::flags::StoreAction;

/// Has a durable cluster do what is asked, and waits until it is so.
pub(crate) fn store(config: &CtlConfig, action: &StoreAction) -> Result<ExitCode, Failure> {
    let secret = Secret::load(&config.secret_file)
        .map_err(|error| Failure::usage(format!("--cluster-secret-file: {error}")))?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::system(format!("cannot wait: {error}")))?;
    let done = runtime.block_on(async {
        let admin = Admin::connect(&config.cluster, &secret, &config.nodes)?;
        act(&admin, action).await
    });
    done.map(|()| ExitCode::SUCCESS).map_err(|error| match error {
        AdminError::Senseless(_) => Failure::usage(error.to_string()),
        _ => Failure::system(error.to_string()),
    })
}

async fn act(admin: &Admin, action: &StoreAction) -> Result<(), AdminError> {
    let version = match action {
        StoreAction::Status { json } => {
            let status = admin.status().await?;
            say(&if *json { report::json(&status) } else { report::text(&status) });
            return Ok(());
        }
        StoreAction::Drain { name } => admin.drain(name, true).await?,
        StoreAction::Undrain { name } => admin.drain(name, false).await?,
        StoreAction::Remove { name, lost } => admin.remove(name, *lost).await?,
        StoreAction::Replace { name, by } => admin.replace(name, by).await?,
        StoreAction::Rebalance => admin.rebalance().await?,
        StoreAction::Replicas { number } => {
            admin.set_replicas(usize::try_from(*number).unwrap_or(usize::MAX)).await?
        }
    };
    say(&format!("agreed (version {version}); waiting until it is so\n"));
    let mut last = String::new();
    let status = admin.wait(version, |heard| {
        let lines = match heard {
            Ok(status) => report::progress(status),
            Err(error) => format!("  {error}\n"),
        };
        if lines != last {
            say(&lines);
            last = lines;
        }
    });
    let status = status.await?;
    say(&done(&status));
    Ok(())
}

fn done(status: &ClusterStatus) -> String {
    format!("done: {} nodes, {} groups\n", status.nodes.len(), status.groups.len())
}

/// Nobody may be reading any more.
fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).ok();
}
