//! The processes that stay: munge, the nodes, and the database where one is wanted.

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use super::PATIENCE;
use super::Sandbox;

impl Sandbox {
    pub(super) fn daemon(&mut self, program: &str, arguments: &[&str]) {
        let name = arguments.iter().fold(program.to_owned(), |name, word| match word.strip_prefix("n") {
            Some(_) => format!("{name}.{word}"),
            None => name,
        });
        let log = File::create(self.folder.join(format!("log/{name}.out"))).unwrap();
        let mut command = self.command(program);
        command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log);
        let child =
            command.spawn().unwrap_or_else(|cause| panic!("{program}: {cause}; `make test-cluster` installs it"));
        self.daemons.push((name, child));
    }

    pub fn start_slurmd(&mut self, node: usize) {
        self.daemon("slurmd", &["-D", "-N", &format!("n{node}")]);
    }

    pub(super) fn start_munge(&mut self) {
        let key = self.folder.join("munge.key");
        let mut random = [0; 128];
        File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        fs::write(&key, random).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
        let at = |option: &str, file: &str| format!("--{option}={}", self.folder.join(file).display());
        let places = [
            at("key-file", "munge.key"),
            at("socket", "run/munge.sock"),
            at("pid-file", "run/munged.pid"),
            at("log-file", "log/munged.log"),
            at("seed-file", "run/munge.seed"),
        ];
        let mut arguments = vec!["--foreground", "--force", "--num-threads=2"];
        arguments.extend(places.iter().map(String::as_str));
        self.daemon("munged", &arguments);
        self.wait_for("munge's socket", PATIENCE, || self.folder.join("run/munge.sock").exists().then_some(()));
    }

    pub(super) fn start_accounting(&mut self, port: u16) {
        let at = |file: &str| self.folder.join(file).display().to_string();
        let (data, socket) = (at("db"), format!("--socket={}", at("run/db.sock")));
        for folder in ["db", "run"] {
            fs::create_dir_all(self.folder.join(folder)).unwrap();
            self.text("chown", &format!("mysql: {}", at(folder))).unwrap();
        }
        fs::set_permissions(at("slurmdbd.conf"), fs::Permissions::from_mode(0o600)).unwrap();
        let data = format!("--datadir={data}");
        self.text("mariadb-install-db", &format!("--no-defaults --user=mysql {data} --skip-test-db")).unwrap();
        let port = format!("--port={port}");
        let address = "--bind-address=127.0.0.1";
        let small = "--innodb-buffer-pool-size=64M";
        self.daemon("mariadbd", &["--no-defaults", "--user=mysql", &data, &socket, address, &port, small]);
        let statements = "create database slurm_acct_db; create user slurm@'127.0.0.1' identified by 'sandbox'; \
                          grant all on slurm_acct_db.* to slurm@'127.0.0.1'";
        self.wait_for("the database", PATIENCE, || {
            self.output(self.command("mariadb").args(["--no-defaults", &socket, "-e", statements])).ok()
        });
        self.daemon("slurmdbd", &["-D"]);
        self.wait_for("slurmdbd", PATIENCE, || self.text("sacctmgr", "-n list cluster").ok());
        for what in ["cluster sandbox", "account test Description=t Organization=t", "user root Account=test"] {
            self.text("sacctmgr", &format!("-i add {what}")).unwrap();
        }
    }
}
