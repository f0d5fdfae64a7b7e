//! Who is not of the cluster, or not yet, and asks its nodes.

use std::fmt;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use larder_peer::{BadCredentials, CallError, Credentials, Link, PeerId, Secret, Settings};
use tokio::time::{Instant, sleep};

use super::call::{self, Answer, CLUSTER, Call, No, Reply, Request};

/// Who is not of the cluster, or not yet, and asks its nodes.
pub(crate) struct Stranger {
    credentials: Credentials,
    links: Vec<(String, Link)>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It is refused, whoever is asked and whenever.
    Refused(String),
    /// Nobody could do it in time; surely nothing was done.
    InVain(String),
    /// It may have been done, or be done yet.
    Unknown(String),
}

impl Stranger {
    /// One that reaches nodes at these addresses. `name` is for their logs.
    ///
    /// # Errors
    ///
    /// The name of the cluster or its own is none.
    ///
    /// # Panics
    ///
    /// It is called outside of a tokio runtime.
    pub(crate) fn new(
        cluster: &str,
        name: &str,
        secret: &Secret,
        addresses: &[String],
        settings: &Settings,
    ) -> Result<Self, BadCredentials> {
        let peer = PeerId { id: NOBODY, name: name.into() };
        let credentials = Credentials::new(cluster, peer, secret.clone())?;
        let open = |address: &String| {
            let link = Link::open(address, None, credentials.clone(), settings.clone());
            (address.clone(), link)
        };
        let links = addresses.iter().map(open).collect();
        Ok(Self { credentials, links })
    }

    /// What it presents itself with.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Asks each who it is, and returns the first that says so, and where that was.
    pub(crate) async fn find(&self) -> Option<(String, Reply)> {
        for (address, link) in &self.links {
            let until = Instant::now() + PATIENCE;
            if let Ok(Ok(reply)) = ask(link, &Call::Who, until).await {
                return Some((address.clone(), reply));
            }
        }
        None
    }

    /// Asks one after the other, and again, until one has an answer or the time is over; how the cluster is
    /// all are asked at once. What may have been done is asked for again only if that is `harmless`.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        harmless: bool,
        patience: Duration,
    ) -> Result<Reply, Unanswered> {
        let deadline = Instant::now() + patience;
        let call = Call::Ask { request: request.clone(), passed: false };
        let (mut pause, looks) = (PAUSE, matches!(request, Request::Status));
        loop {
            let asked = self.links.iter().map(|(address, link)| {
                let call = &call;
                async move {
                    let until = if looks { deadline } else { Instant::now() + PATIENCE };
                    (address, ask(link, call, until).await)
                }
            });
            let at_once = if looks { self.links.len().max(1) } else { 1 };
            let mut answers = stream::iter(asked).buffer_unordered(at_once);
            let mut why = Vec::new();
            while let Some((address, answer)) = answers.next().await {
                let no = match answer {
                    Ok(Ok(reply)) => return Ok(reply),
                    Ok(Err(No::Refused(why))) => return Err(Unanswered::Refused(why)),
                    Ok(Err(No::Unknown)) if !harmless => {
                        return Err(Unanswered::Unknown(format!("{address}: {}", No::Unknown)));
                    }
                    Ok(Err(no)) => no.to_string(),
                    Err(error @ CallError::Unknown(_)) if !harmless => {
                        return Err(Unanswered::Unknown(format!("{address}: {error}")));
                    }
                    Err(error) => error.to_string(),
                };
                why.push(format!("{address}: {no}"));
            }
            why.sort_unstable();
            if Instant::now() + pause >= deadline {
                return Err(Unanswered::InVain(why.join("; ")));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn ask(link: &Link, call: &Call, until: Instant) -> Result<Answer, CallError> {
    let refused = |error: &dyn fmt::Display| CallError::Refused(error.to_string().into());
    let body = call::encode(call).map_err(|error| refused(&error))?;
    let answer = link.call(CLUSTER, body, until).await?;
    call::decode(&answer).map_err(|error| refused(&error.0))
}

impl fmt::Display for No {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaderless => f.write_str(
                "nobody is known to lead group 0: a majority of the nodes that have a vote in it \
                 must be up and reach each other",
            ),
            Self::Minority => f.write_str(
                "a majority of the nodes that have a vote in group 0 does not answer: nothing was \
                 changed",
            ),
            Self::Refused(why) | Self::Failed(why) => f.write_str(why),
            Self::Older(_) => f.write_str("a later order was taken"),
            Self::Unknown => {
                f.write_str("it may have been done, or be done yet: ask for the status")
            }
        }
    }
}

/// The number of who has none. Nodes have theirs from 1 on.
const NOBODY: u64 = 0;
/// Who is asked asks another, who asks a majority, and each waits no longer than a part of this.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
