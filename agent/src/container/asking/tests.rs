//! Sources that fail, that do not know, and that hang.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    super::{Runtime, source::Later},
    *,
};

/// A thousandth of what is usual, or so.
const FAST: Pace = Pace {
    deadline: Duration::from_millis(50),
    again: [Duration::from_millis(1); 4],
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(10),
    ping: Duration::from_secs(3600),
};

#[derive(Clone, Default)]
struct Fake {
    questions: Arc<Mutex<Vec<Vec<String>>>>,
    is_down: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    pings: Arc<AtomicUsize>,
    knows: Arc<Mutex<BTreeSet<String>>>,
}

impl Source for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn may_know(&self, found: &Found) -> bool {
        found.runtime != Runtime::Docker
    }

    fn describe<'a>(&'a mut self, found: &'a [Found]) -> Later<'a, Result<Vec<Description>, String>> {
        let ids: Vec<String> = found.iter().map(|found| found.id.clone()).collect();
        self.questions.lock().unwrap().push(ids.clone());
        Box::pin(async move {
            if self.hangs.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if self.is_down.load(Ordering::Relaxed) {
                return Err("it is down".to_owned());
            }
            let knows = self.knows.lock().unwrap();
            let told = ids.into_iter().filter(|id| knows.contains(id));
            Ok(told.map(|id| Description { id, name: "n".to_owned(), ..Description::default() }).collect())
        })
    }

    fn ping(&mut self) -> Later<'_, Option<Result<(), String>>> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        let is_down = self.is_down.load(Ordering::Relaxed);
        let answer = if is_down { Err("it is down".to_owned()) } else { Ok(()) };
        Box::pin(std::future::ready(Some(answer)))
    }

    fn calls(&self) -> u64 {
        self.questions.lock().unwrap().len() as u64
    }
}

fn found(id: &str, runtime: Runtime) -> Found {
    Found { id: id.to_owned(), runtime, pod: None, process: None }
}

struct Served {
    fake: Fake,
    errands: mpsc::UnboundedSender<Errand>,
    answers: mpsc::Receiver<Answer>,
}

fn serve(knows: &[&str]) -> Served {
    serve_at(knows, FAST)
}

fn serve_at(knows: &[&str], pace: Pace) -> Served {
    let fake = Fake::default();
    fake.knows.lock().unwrap().extend(knows.iter().map(|id| (*id).to_owned()));
    let (errands, taken) = mpsc::unbounded_channel();
    let (answer, answers) = mpsc::channel(8);
    tokio::spawn(Asking::new(0, Box::new(fake.clone()), pace).serve(taken, answer));
    Served { fake, errands, answers }
}

impl Served {
    async fn described(&mut self) -> Vec<String> {
        match self.answers.recv().await {
            Some(Answer::Described(0, told)) => told.into_iter().map(|told| told.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, ids: &[&str]) {
        let all = ids.iter().map(|id| found(id, Runtime::Containerd)).collect();
        self.errands.send(Errand::Describe(all)).unwrap();
    }

    fn questions(&self) -> Vec<Vec<String>> {
        self.fake.questions.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn all_that_has_come_is_one_question() {
    let mut served = serve(&["a", "b", "c"]);
    served.ask(&["a", "b"]);
    served.ask(&["c"]);
    assert_eq!(served.described().await, ["a", "b", "c"]);
    tokio::time::sleep(FAST.again[3] * 20).await;
    assert_eq!(served.questions().len(), 1, "and it is not asked again");
}

#[tokio::test]
async fn what_is_not_known_is_asked_about_a_few_times_and_not_for_ever() {
    let mut served = serve(&["a"]);
    served.ask(&["a", "stranger"]);
    assert_eq!(served.described().await, ["a"]);
    tokio::time::sleep(FAST.again[3] * 20).await;
    let again = served.questions().split_off(1);
    assert_eq!(again.len(), FAST.again.len());
    assert!(again.iter().all(|ids| *ids == ["stranger"]));
    served.fake.knows.lock().unwrap().insert("late".to_owned());
    served.errands.send(Errand::Describe(vec![found("other", Runtime::Docker)])).unwrap();
    served.ask(&["late"]);
    assert_eq!(served.described().await, ["late"]);
    assert_eq!(
        served.questions().pop().unwrap(),
        ["late"],
        "what is somebody else's for sure is not asked about"
    );
}

#[tokio::test]
async fn after_a_failure_all_that_was_missed_is_asked_about() {
    let mut served = serve(&["a", "b", "c"]);
    served.fake.is_down.store(true, Ordering::Relaxed);
    served.ask(&["a", "b"]);
    tokio::time::sleep(FAST.longest_pause * 10).await;
    let failed = served.questions().len();
    assert!((1..20).contains(&failed), "{failed} questions");
    served.ask(&["c"]);
    served.errands.send(Errand::Forget(vec!["b".to_owned()])).unwrap();
    served.fake.is_down.store(false, Ordering::Relaxed);
    assert_eq!(served.described().await, ["a", "c"]);
}

#[tokio::test]
async fn a_source_that_hangs_is_given_up_and_asked_again() {
    let mut served = serve(&["a"]);
    served.fake.hangs.store(true, Ordering::Relaxed);
    served.ask(&["a"]);
    tokio::time::sleep(FAST.deadline * 2).await;
    served.fake.hangs.store(false, Ordering::Relaxed);
    assert_eq!(served.described().await, ["a"]);
}

#[tokio::test]
async fn while_there_is_nothing_to_ask_it_is_asked_whether_it_is_there() {
    let mut served = serve_at(&["a"], Pace { ping: Duration::from_millis(1), ..FAST });
    let pings = || served.fake.pings.load(Ordering::Relaxed);
    for is_down in [false, true] {
        served.fake.is_down.store(is_down, Ordering::Relaxed);
        let before = pings();
        while pings() < before + 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    served.fake.is_down.store(false, Ordering::Relaxed);
    assert!(served.questions().is_empty());
    served.ask(&["a"]);
    assert_eq!(served.described().await, ["a"]);
}
