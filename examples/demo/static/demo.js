// Keeps the session alive while a page is open, and tells at once when it was ended in another browser.
import { createClient } from "/auth/client.js";

const client = createClient();
const state = document.querySelector("#socket");

let signedOut = false;

client.onChange((session) => {
  if (session && signedOut) location.reload();
  if (session) return;
  signedOut = true;
  const over = document.querySelector("#over");
  over.hidden = false;
  document.querySelector("main").replaceChildren(over); // What was private leaves the screen.
});

function show(text) {
  if (state) state.textContent = text;
}

function connect() {
  const socket = new WebSocket(new URL("/live", location.href.replace(/^http/, "ws")));
  socket.onopen = () => show("open");
  socket.onclose = ({ code }) => {
    show(`closed with ${code}`);
    setTimeout(look, code === 4401 ? 0 : 2000);
  };
}

// A socket is also closed where the server restarts.
async function look() {
  try {
    if (await client.session({ fresh: true })) connect();
  } catch {
    setTimeout(look, 2000);
  }
}

show("connecting");
await client.session().catch(() => {});
connect();
