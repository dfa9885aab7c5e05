/** Runs `work` at once and then at most once per `ms`; a call in between is made up for at the end. */
export function throttle(work: () => unknown, ms: number): { call: () => void; cancel: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isDue = false;
  const turn = () => {
    timer = undefined;
    if (isDue) call();
  };
  const call = () => {
    if (timer) {
      isDue = true;
      return;
    }
    isDue = false;
    timer = setTimeout(turn, ms);
    work();
  };
  return {
    call,
    cancel: () => {
      clearTimeout(timer);
      timer = undefined;
      isDue = false;
    },
  };
}
