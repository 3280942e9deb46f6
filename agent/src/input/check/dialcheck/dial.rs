//! Tries: one connection or datagram each, and what came back.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use regex_lite::Regex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UdpSocket, UnixStream},
    task::JoinSet,
    time::sleep,
};

use super::{
    super::{
        Inside,
        reach::{self, Failure, Patience, Reason},
    },
    settings::{Network, Settings},
    unix,
};

/// How much of an answer is looked at.
const MOST_ANSWER: usize = 4 << 10;
/// How long silence over UDP is waited out where no answer is expected: a refusal comes at once.
const SILENCE: Duration = Duration::from_millis(500);
/// How long a unix socket is left alone whose listener has no room.
const PAUSE: Duration = Duration::from_millis(5);

/// A try that found out something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Try {
    /// How long it took to connect, where there is something to connect.
    pub(super) connect: Option<Duration>,
    /// How long it took until the answer was there, if one was waited for.
    pub(super) answer: Option<Duration>,
    pub(super) verdict: Verdict,
}

/// What a try found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Verdict {
    Up,
    /// Nobody answered, which over UDP need not mean that nobody is there.
    #[default]
    Silent,
    Down(Reason),
}

/// What every try needs to know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) expect: Option<Regex>,
}

impl Plan {
    /// Of these settings, or what is wrong with them.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let expect = settings.check()?;
        Ok(Self { settings, expect })
    }
}

type Tries = Result<Vec<Try>, Failure>;

/// Tries every port as often as the plan wants, all ports at the same time. In the order of the plan.
pub(super) async fn ports(
    plan: &Arc<Plan>,
    inside: &Inside,
    patience: Patience,
) -> Result<Vec<Vec<Try>>, Failure> {
    let hosts = match hosts(&plan.settings.host, inside, patience) {
        Ok(hosts) => hosts,
        Err(Failure::Down(reason)) => {
            let missed = Try { verdict: Verdict::Down(reason), ..Try::default() };
            return Ok(vec![vec![missed; plan.settings.times as usize]; plan.settings.ports.len()]);
        }
        Err(unknown) => return Err(unknown),
    };
    let mut trying = JoinSet::new();
    for (index, &port) in plan.settings.ports.iter().enumerate() {
        let addresses = hosts.iter().map(|&host| SocketAddr::new(host, port)).collect();
        let plan = Arc::clone(plan);
        trying.spawn(async move { (index, tries(&plan, &Door::Port(addresses), patience).await) });
    }
    let mut all = vec![Vec::new(); plan.settings.ports.len()];
    while let Some(done) = trying.join_next().await {
        let (index, tries) = done.map_err(|error| Failure::Unknown(error.to_string()))?;
        all[index] = tries?;
    }
    Ok(all)
}

/// Tries a unix socket.
pub(super) async fn socket(plan: &Plan, from: unix::From<'_>, patience: Patience) -> Tries {
    tries(plan, &Door::Socket(from), patience).await
}

/// Where a try knocks.
enum Door<'a> {
    /// At a port of these addresses.
    Port(Vec<SocketAddr>),
    /// At the socket of the plan.
    Socket(unix::From<'a>),
}

fn hosts(host: &str, inside: &Inside, patience: Patience) -> Result<Vec<IpAddr>, Failure> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    reach::addresses(inside, host, patience)
}

/// As many tries as the plan wants, each with its share of the time.
async fn tries(plan: &Plan, door: &Door<'_>, patience: Patience) -> Tries {
    let mut tries = Vec::new();
    for left in (1..=plan.settings.times as usize).rev() {
        tries.push(match one(plan, door, patience.within(patience.share(left))).await {
            Ok(done) => done,
            Err(Failure::Down(reason)) => Try { verdict: Verdict::Down(reason), ..Try::default() },
            Err(unknown) => return Err(unknown),
        });
    }
    Ok(tries)
}

async fn one(plan: &Plan, door: &Door<'_>, share: Patience) -> Result<Try, Failure> {
    let began = Instant::now();
    let connected = || Try { connect: Some(began.elapsed()), ..Try::default() };
    match door {
        Door::Port(addresses) if plan.settings.network == Network::Udp => {
            datagram(plan, addresses, share).await
        }
        Door::Port(addresses) => {
            let stream = reach::connect(addresses, share).await?;
            converse(stream, plan, share, connected(), began).await
        }
        Door::Socket(from) => {
            let stream = share.wait(knock(*from, &plan.settings.path)).await?;
            converse(stream, plan, share, connected(), began).await
        }
    }
}

/// Sends what is to be sent, and waits for the answer, if there is one to wait for. What fails after the connection
/// leaves the time that it took.
async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    plan: &Plan,
    share: Patience,
    connected: Try,
    began: Instant,
) -> Result<Try, Failure> {
    let talk = async {
        if !plan.settings.send.is_empty() {
            stream.write_all(plan.settings.send.as_bytes()).await?;
            stream.flush().await?;
        }
        let Some(expect) = &plan.expect else { return Ok(None) };
        let mut answer = Vec::with_capacity(MOST_ANSWER);
        while answer.len() < MOST_ANSWER {
            let came = (&mut stream).take((MOST_ANSWER - answer.len()) as u64).read_buf(&mut answer).await?;
            if expect.is_match(&String::from_utf8_lossy(&answer)) {
                return Ok(Some(began.elapsed()));
            }
            if came == 0 {
                break;
            }
        }
        Err(Reason::Answer.into())
    };
    match share.wait(talk).await {
        Ok(answer) => Ok(Try { answer, verdict: Verdict::Up, ..connected }),
        Err(Failure::Down(reason)) => Ok(Try { verdict: Verdict::Down(reason), ..connected }),
        Err(unknown) => Err(unknown),
    }
}

/// Sends a datagram to one address after the other, until one answers. A refusal is an answer of the kernel's there.
async fn datagram(plan: &Plan, addresses: &[SocketAddr], share: Patience) -> Result<Try, Failure> {
    let began = Instant::now();
    let mut verdict = Verdict::Down(Reason::Resolve);
    for (index, &address) in addresses.iter().enumerate() {
        let part = share.within(share.share(addresses.len() - index));
        let part = if plan.expect.is_none() { part.at_most(SILENCE) } else { part };
        let next = match part.wait(exchange(plan, address)).await {
            Ok(true) => {
                return Ok(Try { connect: None, answer: Some(began.elapsed()), verdict: Verdict::Up });
            }
            Ok(false) => Verdict::Down(Reason::Answer),
            Err(Failure::Down(Reason::Timeout)) if plan.expect.is_none() => Verdict::Silent,
            Err(Failure::Down(reason)) => Verdict::Down(reason),
            Err(unknown) => return Err(unknown),
        };
        if weight(next) > weight(verdict) {
            verdict = next;
        }
    }
    Ok(Try { verdict, ..Try::default() })
}

/// How much one address tells, where several have a name.
fn weight(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Down(Reason::Resolve) => 0,
        Verdict::Down(Reason::Unreachable) => 1,
        Verdict::Down(Reason::Answer) | Verdict::Up => 4,
        Verdict::Down(_) => 2,
        Verdict::Silent => 3,
    }
}

/// Whether the answer to a datagram is the expected one. Never ends when there is none.
async fn exchange(plan: &Plan, address: SocketAddr) -> Result<bool, Failure> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // Nobody else is heard then, and a refusal is.
    socket.connect(address).await?;
    socket.send(plan.settings.send.as_bytes()).await?;
    let mut answer = vec![0; MOST_ANSWER];
    let length = socket.recv(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    Ok(plan.expect.as_ref().is_none_or(|expect| expect.is_match(&answer)))
}

/// Connects to a unix socket, as soon as its listener has room.
async fn knock(from: unix::From<'_>, path: &str) -> Result<UnixStream, Failure> {
    loop {
        match unix::connect(from, path) {
            Ok(stream) => return Ok(UnixStream::from_std(stream)?),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(PAUSE).await,
            Err(error) => return Err(refusal(error)),
        }
    }
}

/// What it means that a unix socket could not be connected to.
fn refusal(error: io::Error) -> Failure {
    use nix::errno::Errno;
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => Reason::Missing.into(),
        // It accepts no connections, or not this way.
        Some(Errno::EPROTOTYPE) => Reason::Protocol.into(),
        Some(Errno::EACCES | Errno::EPERM) => {
            Failure::Unknown(format!("the user of the check may not connect there: {error}"))
        }
        _ => error.into(),
    }
}
