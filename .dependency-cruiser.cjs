/** Who may import whom. */
const rule = (name, from, to, pathNot) => ({
  name,
  severity: "error",
  from: { path: from },
  to: pathNot ? { path: to, pathNot } : { path: to },
});

module.exports = {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    rule("host-sees-only-the-layout", "^host/", "^assembly/", "^assembly/layout/"),
    rule("layout-imports-only-layout", "^assembly/layout/", ".*", "^assembly/layout/"),
    rule("wire-knows-nothing-of-lvs", "^assembly/wire/", "^assembly/(?!wire/|layout/)"),
    rule("table-sits-on-wire-and-layout", "^assembly/table/", "^assembly/(?!table/|wire/|layout/)"),
    rule("schedulers-meet-no-siblings", "^assembly/scheduler/", "^assembly/(protocol|forwarding)/"),
    rule("protocols-meet-no-siblings", "^assembly/protocol/", "^assembly/(scheduler|forwarding)/"),
    rule("forwarding-meets-no-siblings", "^assembly/forwarding/", "^assembly/(scheduler|protocol)/"),
    rule("only-cli-knows-the-cli", "^host/(?!cli/)", "^host/cli/"),
    // Types come and go with compilation; the page is no module of the host, nor the other way round.
    {
      name: "the-page-stands-alone",
      severity: "error",
      from: { path: "^host/page/" },
      to: { path: "^(host/(?!page/)|assembly/)", dependencyTypesNot: ["type-only"] },
    },
    rule("nothing-imports-the-page", "^host/(?!page/)", "^host/page/"),
    rule("core-and-port-are-the-ground", "^host/(core|port|ipvs)/", "^host/(?!core/|port/|ipvs/|errors|log|address)"),
  ],
  options: {
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^dist/" },
    enhancedResolveOptions: { extensions: [".ts", ".js", ".json"] },
  },
};
