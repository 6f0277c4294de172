class Dangerous < ActiveRecord::Migration[7.1]
  disable_ddl_transaction!

  def up
    add_column :users, :nick, :string, null: false
    add_column :users, :points, :integer, default: 0, null: false
    remove_column :users, :legacy, :string
    rename_column :users, :mail, :email
    change_column :users, :age, :bigint
    change_column_null :users, :name, false
    add_index :users, :email, algorithm: :concurrently
    add_index :users, [:name, :age]
    add_foreign_key :orders, :users
    add_foreign_key :orders, :parts, validate: false
    change_table :orders, bulk: true do |t|
      t.remove :memo
      t.string :code, null: false
    end
    execute <<~SQL
      UPDATE users SET points = 1;
      DROP TABLE old_users;
    SQL
    execute "DELETE FROM #{table}"
    drop_table :leftovers if table_exists?(:leftovers)
  end

  def down
    drop_table :users
  end
end
