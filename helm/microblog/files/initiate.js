// Makes a replica set of one, the user `root`, and the user `microblog`, who may use two databases and nothing else.
//
// Whoever runs this may die between any two lines, and so may mongod. So no step relies on the one before: each pass looks at what is
// there, does the first thing that is missing, and begins again, until nothing is.
const { MONGODB_HOST, MONGODB_DATABASES, MONGODB_ROOT_PASSWORD, MONGODB_PASSWORD } = process.env;
const ADDRESS = "127.0.0.1:27017/admin?directConnection=true&serverSelectionTimeoutMS=2000";
const DURABLY = { w: "majority", j: true };
const [UNAUTHORIZED, AUTHENTICATION_FAILED] = [13, 18];
const ROLES = MONGODB_DATABASES.split(",").map((database) => ({ role: "readWrite", db: database }));

function connectAs(user, password) {
  return new Mongo(`mongodb://${user}:${encodeURIComponent(password)}@${ADDRESS}`).getDB("admin");
}

// The first thing that is missing; undefined if nothing is.
function missing() {
  const anybody = new Mongo(`mongodb://${ADDRESS}`).getDB("admin");
  const hello = anybody.hello();
  if (!hello.setName) {
    return ["the replica set", () => anybody.adminCommand({
      replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: MONGODB_HOST }] },
    })];
  }
  if (!hello.isWritablePrimary) {
    return ["a primary", () => {}];
  }

  let root;
  try {
    root = connectAs("root", MONGODB_ROOT_PASSWORD);
  } catch (error) {
    if (error.code !== AUTHENTICATION_FAILED) throw error;
    // Allowed over the loopback interface, as long as there is no user at all.
    return ["the user root", () => anybody.createUser(
      { user: "root", pwd: MONGODB_ROOT_PASSWORD, roles: ["root"] }, DURABLY)];
  }

  if (!root.getUser("microblog")) {
    return ["the user microblog", () => root.createUser(
      { user: "microblog", pwd: MONGODB_PASSWORD, roles: ROLES }, DURABLY)];
  }
  try {
    connectAs("microblog", MONGODB_PASSWORD);
  } catch (error) {
    if (error.code !== AUTHENTICATION_FAILED) throw error;
    return ["microblog's password", () => root.updateUser(
      "microblog", { pwd: MONGODB_PASSWORD, roles: ROLES }, DURABLY)];
  }
}

for (let before; ;) {
  let what = "mongod";
  try {
    const step = missing();
    if (!step) break;
    what = step[0];
    step[1]();
  } catch (error) {
    if (what === "the user root" && error.code === UNAUTHORIZED) {
      print("This volume has users, but root has another password than the Secret says: they do not belong together.");
      quit(1);
    }
    print(`${what}: ${error.message}`);
  }
  // Wait where nothing came of it: for mongod to start, for the election.
  if (what === before) sleep(1000);
  else print(`${what} ...`);
  before = what;
}
print("The replica set and its users are there.");
