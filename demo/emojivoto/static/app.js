// The four pages of the vote: choose, chosen, failed, leaderboard. Text only ever enters as text.
"use strict";

const main = document.getElementById("main");

function element(tag, className, text, onclick) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (onclick) made.addEventListener("click", onclick);
  return made;
}

function show(...parts) {
  main.replaceChildren(...parts);
}

function visit(path) {
  history.pushState(null, "", path);
  route();
}

const toLeaderboard = () =>
  element("button", "action", "View the leaderboard", () => visit("/leaderboard"));
const toVote = (text) => element("button", "action", text, () => visit("/"));

async function getJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

async function vote(emoji) {
  let ok = false;
  try {
    ok = (await fetch(`/api/vote?choice=${encodeURIComponent(emoji.shortcode)}`)).ok;
  } catch {
    // A lost connection shows the same page as a failed vote.
  }
  if (ok) showPicked(emoji);
  else showFailed(emoji);
}

function showPicked(emoji) {
  show(
    element("p", "", "You picked:"),
    element("div", "picked", emoji.unicode),
    element("p", "", "See how you stack up against others"),
    toLeaderboard(),
    toVote("Pick another one"),
  );
}

function showFailed(emoji) {
  const doughnut = emoji.shortcode === ":doughnut:";
  const text = doughnut
    ? "Voting for the doughnut always fails, on purpose: it is there for the mesh to find. Please try another."
    : "We could not process your request.";
  show(
    element("div", "stripes"),
    element("div", "icon", "🚧"),
    element("h1", "", "404"),
    element("p", "", text),
    toVote(doughnut ? "Select again" : "Pick another"),
    element("div", "stripes"),
  );
}

async function showVote() {
  show(element("p", "", "Loading emoji…"));
  const grid = element("div", "grid");
  for (const emoji of await getJson("/api/list")) {
    const button = element("button", "emoji", emoji.unicode, () => vote(emoji));
    button.title = emoji.shortcode;
    grid.append(button);
  }
  show(
    element("div", "icon", "🗳"),
    element("h1", "", "EMOJI VOTE"),
    element("p", "", "Tap to vote for your favorite emoji below"),
    toLeaderboard(),
    grid,
  );
}

async function showLeaderboard() {
  const grid = element("div", "grid");
  const parts = [element("h1", "", "EMOJI VOTE LEADERBOARD"), toVote("Vote on your favorite"), grid];
  show(...parts);
  try {
    for (const row of await getJson("/api/leaderboard")) {
      const cell = element("div", "emoji", row.unicode);
      cell.title = `${row.votes} votes`;
      cell.append(element("span", "badge", row.votes));
      grid.append(cell);
    }
  } catch {
    grid.append(element("p", "", "Error loading leaderboard."));
  }
}

function route() {
  const page = location.pathname === "/leaderboard" ? showLeaderboard() : showVote();
  page.catch(() => showFailed({ shortcode: "" }));
}

addEventListener("popstate", route);
route();
