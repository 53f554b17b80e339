/** Names that nap answers from its records, and dnsmasq from a hosts file. */
export const benchNames = Array.from({ length: 10_000 }, (_, i) => ({
  service: `s${i}`,
  project: `p${i % 100}`,
  name: `s${i}.p${i % 100}.default.nap.local`,
  address: `10.77.${(i / 250) | 0}.${(i % 250) + 1}`,
}));

/** Names that both have to ask another resolver for, once. */
export const foreignNames = Array.from({ length: 1_000 }, (_, i) => `h${i}.example`);
