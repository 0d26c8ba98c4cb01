// Two switches of this browser alone: a sound, and a notification, when the last of the viewer's jobs has ended. Off at first.
export default function ({ data, parentElement }) {
  const [sound, notify] = parentElement.querySelectorAll("input");
  const [soundWords, notifyWords] = parentElement.querySelectorAll("span");
  const note = parentElement.querySelector("p");
  soundWords.textContent = data.sound;
  notifyWords.textContent = data.notify;
  sound.checked = stored("browser", "zd-sound") === "on";
  notify.checked = stored("browser", "zd-notify") === "on" && window.Notification?.permission === "granted";
  sound.onchange = () => store("browser", "zd-sound", sound.checked ? "on" : "off");
  notify.onchange = async () => {
    const wanted = notify.checked;
    const allowed = wanted && window.Notification ? await Notification.requestPermission() : "";
    notify.checked = wanted && allowed === "granted";
    note.textContent = wanted && !notify.checked ? data.denied : "";
    store("browser", "zd-notify", notify.checked ? "on" : "off");
  };
}
