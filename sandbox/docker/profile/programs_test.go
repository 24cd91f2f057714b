package profile

const pythonProcesses = `
import asyncio, multiprocessing, queue, subprocess, threading
pipe = subprocess.run("echo pipe | cat", shell=True, capture_output=True, text=True).stdout.strip()
q = queue.Queue()
t = threading.Thread(target=q.put, args=("thread",)); t.start(); t.join()
def square(x): return x * x
with multiprocessing.Pool(2) as p: squares = p.map(square, [1, 2, 3])
async def main():
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await child.communicate(b"x" * 256)
    return await asyncio.sleep(0.001, "slept"), len(out)
print(pipe, q.get(), squares, *asyncio.run(main()))
`

const pythonNetwork = `
import http.server, socket, sqlite3, ssl, threading, urllib.request
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *_): pass
s = http.server.ThreadingHTTPServer(("localhost", 0), Hello)
threading.Thread(target=s.serve_forever, daemon=True).start()
body = urllib.request.urlopen("http://localhost:%d" % s.server_port).read().decode()
s.shutdown()
ssl.create_default_context()
socket.socketpair()[0].close()
db = sqlite3.connect("/tmp/db"); db.execute("create table t (x)"); db.execute("insert into t values (1)"); db.commit()
print(socket.if_nameindex()[0][1], body, db.execute("select x from t").fetchone()[0])
`

const pythonFiles = `
import ctypes, fcntl, mmap, os, pty, select, shutil, stat, tempfile, termios, time
os.makedirs("/tmp/a/b"); open("/tmp/a/f", "w").write("abc"); shutil.copytree("/tmp/a", "/tmp/c"); shutil.rmtree("/tmp/a")
os.mkfifo("/tmp/p"); kind = "fifo" if stat.S_ISFIFO(os.stat("/tmp/p").st_mode) else "?"
with open("/tmp/c/f", "r+b") as f: fcntl.flock(f, fcntl.LOCK_EX); m = mmap.mmap(f.fileno(), 0); n = len(m)
parent, child = pty.openpty(); termios.tcgetattr(child)
os.memfd_create("x"); select.epoll().close(); os.sched_getaffinity(0); time.clock_gettime(time.CLOCK_BOOTTIME)
print(n, kind, os.path.dirname(os.ttyname(child)), bool(ctypes.CDLL(None).getpid()))
`

const bashPipelines = `
seq 3 | sort -r | head -n 1
mkfifo /tmp/p; (echo x >/tmp/p &); read -r x </tmp/p
touch /tmp/lock; flock /tmp/lock echo locked
tar -C /etc -cf - passwd group hosts | tar -tf - | wc -l
cp --reflink=auto -p /bin/true /tmp/true && nice -n 5 /tmp/true && chmod 600 /tmp/true
dd if=/dev/zero of=/tmp/z bs=1M count=1 conv=fsync status=none; truncate -s 3 /tmp/z
jq -e .a <<<'{"a":1}' >/dev/null; cat < <(echo y) >/dev/null
timeout 0.1 sleep 5 || echo $?
`

const nodeServer = `
const http = require("http"), { Worker } = require("worker_threads"), child = require("child_process");
const net = require("net"), os = require("os"), zlib = require("zlib"), fs = require("fs");
const once = (emitter, event) => new Promise((yes, no) => emitter.on(event, (x) => yes(x)).on("error", no));
(async () => {
  const out = [child.execSync("echo child").toString().trim()];
  out.push("fork", await once(child.fork("/dev/null"), "exit"));
  const s = http.createServer((q, r) => r.end("hello")).listen(0, "localhost");
  await once(s, "listening");
  out.push(await (await fetch("http://localhost:" + s.address().port, { headers: { connection: "close" } })).text());
  s.close();
  out.push(Object.keys(os.networkInterfaces())[0]);
  const u = net.createServer((c) => c.end("unix")).listen("/tmp/s");
  await once(u, "listening");
  out.push("" + (await once(net.connect("/tmp/s"), "data")));
  u.close();
  zlib.gunzipSync(zlib.gzipSync("x")); fs.watch("/tmp").close();
  await fs.promises.cp("/etc/passwd", "/tmp/passwd");
  const w = new Worker("require('worker_threads').parentPort.postMessage(42)", { eval: true });
  out.push("worker", await once(w, "message"));
  console.log(out.join(" "));
})();
`
