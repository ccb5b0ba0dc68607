// The loops of driver_floor.c with the Node driver: driver_peer.js read|project|transform URI DB COUNT [TAG]
const { MongoClient } = require('mongodb');

const BATCH = 1000;

async function main(mode, uri, database, count, tag) {
  const client = new MongoClient(uri);
  const items = client.db(database).collection('items');
  const options = { batchSize: BATCH };
  if (mode !== 'read') options.projection = { _id: 1, n: 1, name: 1 };
  let total = 0;
  let pending = [];
  for await (const doc of items.find({ n: { $lt: Number(count) } }, options)) {
    const { n, name } = doc;
    total += n * name.charCodeAt(n % name.length);
    if (mode !== 'transform') continue;
    const label = `${tag}:${n}:${name.toLowerCase()}`;
    pending.push({ updateOne: { filter: { _id: doc._id }, update: { $set: { label } } } });
    if (pending.length === BATCH) {
      await items.bulkWrite(pending, { ordered: false });
      pending = [];
    }
  }
  if (pending.length) await items.bulkWrite(pending, { ordered: false });
  console.log(String(total));
  await client.close();
}

main(...process.argv.slice(2));
