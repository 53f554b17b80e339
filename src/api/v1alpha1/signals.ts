/** Signals of Linux by the names that the engine knows (moby/sys/signal, signal_linux.go), without SIG. */
const names: ReadonlySet<string> = new Set(
  (
    'ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP ' +
    'TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX'
  ).split(' '),
);

/** Highest signal number of Linux. */
const maxSignal = 64;

/** Whether the engine takes it as a signal: `SIGQUIT`, `QUIT`, `RTMIN+3`, `SIGRTMAX-14`, `3`. */
export function isSignal(text: string): boolean {
  if (/^\d{1,2}$/.test(text)) return Number(text) >= 1 && Number(text) <= maxSignal;
  const name = text.replace(/^SIG/, '');
  const realtime = /^(?:RTMIN\+(\d{1,2})|RTMAX-(\d{1,2}))$/.exec(name);
  if (realtime) {
    const offset = Number(realtime[1] ?? realtime[2]);
    // RTMIN is 34 and RTMAX 64; the engine's table meets in the middle.
    return offset >= 1 && offset <= (realtime[1] === undefined ? 14 : 15);
  }
  return names.has(name);
}
