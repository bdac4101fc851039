//! A whole cluster of real processes: any number of storage nodes and compactors, an insert node, a query node, and a
//! bucket in MinIO or in a folder. Each process keeps its addresses, data and log through restarts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::http::{Answer, Http};
use super::minio::Minio;
use super::poll_until;
use super::ports::free_address;
use super::process::{Folder, Process};

/// What a cluster is made of.
pub(crate) struct Plan {
    /// Storage nodes.
    pub(crate) storage_nodes: usize,
    /// Copies of every sample.
    pub(crate) replication_factor: u32,
    /// Compactors.
    pub(crate) compactors: usize,
    /// The MinIO to keep the bucket in; `None`: a folder.
    pub(crate) minio: Option<PathBuf>,
    /// Flags of a role beside those that every test uses: (role, flag with its value).
    pub(crate) flags: Vec<(&'static str, String)>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { storage_nodes: 3, replication_factor: 2, compactors: 1, minio: None, flags: vec![] }
    }
}

/// A cluster. Processes end with it.
pub(crate) struct Cluster {
    pub(crate) storage: Vec<Node>,
    pub(crate) insert: Node,
    pub(crate) query: Node,
    pub(crate) compactors: Vec<Node>,
    pub(crate) minio: Option<Minio>,
    folder: Folder,
}

/// One process of a cluster, running or not.
pub(crate) struct Node {
    role: &'static str,
    name: String,
    folder: PathBuf,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    address: String,
    grpc_address: Option<String>,
    http: Http,
    process: Option<Process>,
}

impl Cluster {
    /// Makes folders and addresses, and starts MinIO if it is wanted, but no node yet.
    pub(crate) fn prepare(test: &str, plan: &Plan) -> Cluster {
        let folder = Folder::new(test);
        let minio = plan.minio.as_ref().map(|binary| Minio::start(binary, folder.path()));
        let bucket = match &minio {
            Some(minio) => minio.url(),
            None => format!("file://{}", folder.path().join("bucket").display()),
        };
        let variables = minio.as_ref().map(Minio::variables).unwrap_or_default();
        let node = |role: &'static str, name: String| {
            let node = Node::new(role, &name, folder.path()).variables(&variables);
            let own = plan.flags.iter().filter(|(of, _)| *of == role);
            own.fold(node, |node, (_, flag)| node.flag(flag))
        };
        let storage: Vec<Node> = (0..plan.storage_nodes)
            .map(|at| node("storage", format!("node-{at}")).flag(&format!("--node-name=node-{at}")))
            .map(|node| node.default_flag("drop-grace", "5s"))
            .collect();
        let addresses: Vec<&str> = storage.iter().map(Node::grpc_address).collect();
        let storage_nodes = format!("--storage-node={}", addresses.join(","));
        let factor = format!("--replication-factor={}", plan.replication_factor);
        let bucket = format!("--bucket={bucket}");
        let insert = node("insert", "insert".into()).flag(&storage_nodes).flag(&factor);
        let query = node("query", "query".into()).flag(&storage_nodes).flag(&factor).flag(&bucket);
        let query = query.default_flag("catalog-interval", "500ms");
        let compactor = |at| {
            let node = node("compact", format!("compact-{at}")).flag(&storage_nodes).flag(&factor).flag(&bucket);
            node.default_flag("compact-interval", "500ms").default_flag("compact-delay", "3s")
        };
        let compactors = (0..plan.compactors).map(compactor).collect();
        Cluster { storage, insert, query, compactors, minio, folder }
    }

    /// Prepares, starts all nodes and waits until all are ready.
    pub(crate) fn start(test: &str, plan: &Plan) -> Cluster {
        let mut cluster = Cluster::prepare(test, plan);
        cluster.nodes().for_each(Node::start);
        cluster.wait_ready();
        cluster
    }

    /// All nodes: storage, compactors, insert, query.
    pub(crate) fn nodes(&mut self) -> impl Iterator<Item = &mut Node> {
        let Cluster { storage, insert, query, compactors, .. } = self;
        storage.iter_mut().chain(compactors).chain([insert, query])
    }

    /// Waits until all nodes are ready, and the query node has heard of it: it is ready without any member, and asks them
    /// for their state once a second.
    pub(crate) fn wait_ready(&mut self) {
        self.nodes().for_each(Node::wait_ready);
        poll_until("the query node's answers to be complete", || (self.status()["complete"] == true).then_some(()));
    }

    /// SIGTERM to all, and a new start of all.
    pub(crate) fn restart(&mut self) {
        self.nodes().for_each(Node::stop);
        self.nodes().for_each(Node::start);
        self.wait_ready();
    }

    /// Cuts the open data of all members into blocks.
    pub(crate) fn seal(&self) {
        let answer = self.insert.http().post("/api/v1/admin/tsdb/seal", &[], b"").unwrap();
        assert!((200..300).contains(&answer.status), "seal: {} {}", answer.status, answer.text());
    }

    /// How many published blocks lie on the storage nodes.
    pub(crate) fn blocks(&self) -> usize {
        self.storage.iter().map(Node::blocks).sum()
    }

    /// Waits until the bucket has everything that was sealed, and the storage nodes have dropped it.
    pub(crate) fn wait_dropped(&self) {
        poll_until("the storage nodes to drop all blocks", || (self.blocks() == 0).then_some(()));
    }

    /// What the query node tells of the cluster.
    pub(crate) fn status(&self) -> Value {
        let (status, answer) = self.query.http().json("/api/v1/status/cluster", &[]);
        assert_eq!(status, 200, "{answer}");
        answer["data"].clone()
    }

    /// All processes live, and none has ever panicked.
    pub(crate) fn assert_sound(&mut self) {
        self.nodes().for_each(Node::assert_sound);
    }

    /// Where everything lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Node {
    /// A node that is not started, with its data and log below `folder`.
    pub(crate) fn new(role: &'static str, name: &str, folder: &Path) -> Node {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        let address = free_address();
        let grpc_address = (role == "storage").then(free_address);
        let http = Http::new(&address);
        let (flags, variables, process) = (vec![], vec![], None);
        Node { role, name: name.into(), folder, flags, variables, address, grpc_address, http, process }
    }

    /// The same with one more flag.
    pub(crate) fn flag(mut self, flag: &str) -> Node {
        self.flags.push(flag.into());
        self
    }

    /// The same with `--NAME=VALUE`, unless that flag is there.
    fn default_flag(self, name: &str, value: &str) -> Node {
        let prefix = format!("--{name}=");
        if self.flags.iter().any(|flag| flag.starts_with(&prefix)) {
            self
        } else {
            self.flag(&format!("{prefix}{value}"))
        }
    }

    /// Puts `--NAME=VALUE` in the place of the flag of that name.
    pub(crate) fn set_flag(&mut self, name: &str, value: &str) {
        let prefix = format!("--{name}=");
        self.flags.retain(|flag| !flag.starts_with(&prefix));
        self.flags.push(format!("{prefix}{value}"));
    }

    /// The same with more variables of the environment.
    pub(crate) fn variables(mut self, variables: &[(String, String)]) -> Node {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Starts it; does not wait for anything.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_marigram"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MARIGRAM_") || text.starts_with("AWS_") {
                command.env_remove(&name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args([self.role, "--enable-admin-api", "--http-listen", &self.address]);
        if let Some(address) = &self.grpc_address {
            command.args(["--grpc-listen", address]);
        }
        command.arg("--data-dir").arg(self.data_dir()).args(&self.flags);
        self.process = Some(Process::start(&self.name, &mut command, &self.folder.join("log")));
    }

    /// SIGTERM, which must end it in good order.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        let status = process.terminate();
        assert!(status.success(), "{} ended with {status} on SIGTERM:\n{}", self.name, process.output());
        assert_no_panic(&self.name, &process);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        process.kill();
        assert_no_panic(&self.name, &process);
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self) {
        self.process().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.process().signal(Signal::CONT);
    }

    /// What `/-/ready` answers; `None` while nobody listens.
    pub(crate) fn readiness(&self) -> Option<Answer> {
        self.http.get("/-/ready").ok()
    }

    /// Waits until it is ready.
    pub(crate) fn wait_ready(&mut self) {
        let (name, http, process) = (&self.name, &self.http, &mut self.process);
        let process = process.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
        let mut last = String::from("no answer");
        poll_until(&format!("{name} to be ready (its log: {})", self.folder.join("log").display()), || {
            assert!(process.runs(), "{name} has ended:\n{}", process.output());
            let answer = http.get("/-/ready").ok()?;
            let text = answer.text();
            if text != last {
                eprintln!("{name}: {} {text}", answer.status);
                last = text;
            }
            (answer.status == 200).then_some(())
        });
    }

    /// Waits until it either has ended as failed with all of `words` in what it printed, or stays and answers `/-/ready`
    /// with 503 and all of `words`; gives the sentence.
    pub(crate) fn wait_complaint(&mut self, words: &[&str]) -> String {
        let says = |text: &str| {
            let text = text.to_lowercase();
            words.iter().all(|word| text.contains(&word.to_lowercase()))
        };
        let (name, http, process) = (&self.name, &self.http, &mut self.process);
        let process = process.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
        let mut last = String::new();
        let sentence = poll_until(&format!("{name} to speak of {words:?}"), || {
            if !process.runs() {
                let output = process.output();
                let line = output.lines().find(|line| line.starts_with("error: ") && says(line));
                return Some(line.unwrap_or_else(|| panic!("{name} ended without {words:?}:\n{output}")).to_owned());
            }
            let answer = http.get("/-/ready").ok()?;
            let text = answer.text();
            if text != last {
                eprintln!("{name}: {} {text}", answer.status);
                last.clone_from(&text);
            }
            (answer.status == 503 && says(&text)).then_some(text)
        });
        assert!(sentence.trim().lines().count() == 1, "{name} says it in one sentence: {sentence}");
        sentence
    }

    /// Whether the process has ended by itself or was stopped.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| !process.runs())
    }

    /// Forgets a process that has ended by itself, so that it can be started again.
    pub(crate) fn clear(&mut self) {
        assert!(self.has_ended(), "{} still runs", self.name);
        self.process = None;
    }

    /// The process lives, and has never panicked.
    pub(crate) fn assert_sound(&mut self) {
        assert!(!self.has_ended(), "{} has ended:\n{}", self.name, self.process().output());
        let status = self.http.get("/-/healthy").unwrap().status;
        assert_eq!(status, 200, "/-/healthy of {}", self.name);
        assert_no_panic(&self.name, self.process());
    }

    /// How many published blocks lie in its data directory.
    pub(crate) fn blocks(&self) -> usize {
        let Ok(entries) = fs::read_dir(self.data_dir().join("blocks")) else { return 0 };
        // A block may go while its folder is looked at.
        entries.flatten().filter(|entry| entry.path().join("meta.json").exists()).count()
    }

    /// CPU time that the process has taken so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.process().cpu_time()
    }

    /// The client of its HTTP API.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// Host and port of its HTTP API.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Host and port where a storage node serves the others.
    pub(crate) fn grpc_address(&self) -> &str {
        self.grpc_address.as_deref().unwrap_or_else(|| panic!("{} is no storage node", self.name))
    }

    /// Where it keeps its data.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// All that it and its predecessors have printed.
    pub(crate) fn output(&self) -> String {
        self.process().output()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name))
    }
}

fn assert_no_panic(name: &str, process: &Process) {
    let output = process.output();
    assert!(!output.contains("panicked"), "{name} panicked:\n{output}");
}
